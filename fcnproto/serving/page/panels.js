// The lists beside the image: classes with their shares, scores of a pixel. Names are text, never markup.

export const element = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};

const swatch = (colour) => {
  const made = element("span", { className: "swatch" });
  made.style.background = `rgb(${colour.join(",")})`;
  return made;
};

const meter = (part) => {
  const made = element("span", { className: "meter", ariaHidden: "true" }, element("i"));
  made.firstChild.style.setProperty("--part", `${Math.max(0, Math.min(1, part)) * 100}%`);
  return made;
};

export const percent = (share) => (share > 0 && share < 0.001 ? "< 0.1 %" : `${(share * 100).toFixed(1)} %`);

export const legend = (list, shares, colour, hidden, changed) => {
  list.replaceChildren(...shares.map((each) => {
    const box = element("input", { type: "checkbox", checked: !hidden.has(each.class) });
    box.dataset.class = each.class;
    box.addEventListener("change", () => changed(each.class, box.checked));
    return element("li", {}, element("label", {},
      box, swatch(colour(each.class)),
      element("span", { className: "name", textContent: each.name, title: each.name }),
      element("span", { className: "share", textContent: percent(each.share) }),
      meter(each.share)));
  }));
};

const MOST_BARS = 8;

export const bars = (list, scores, name, colour) => {
  const order = scores.map((score, index) => ({ score, index })).filter((each) => each.score !== null);
  order.sort((a, b) => b.score - a.score);
  const top = order[0]?.score ?? 0;
  const low = order.at(-1)?.score ?? 0;
  list.replaceChildren(...order.slice(0, MOST_BARS).map(({ score, index }) => element("li", {},
    swatch(colour(index)),
    element("span", { className: "name", textContent: name(index), title: name(index) }),
    element("span", { className: "share", textContent: score.toFixed(2) }),
    meter(top > low ? (score - low) / (top - low) : 1))));
};
