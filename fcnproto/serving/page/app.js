// The page: images come in, are segmented one after the other, are looked at and saved.

import * as api from "./api.js";
import { camera } from "./camera.js";
import { prepared } from "./images.js";
import { bars, element, legend, percent } from "./panels.js";
import { View, unrolled } from "./view.js";

const $ = (id) => document.getElementById(id);
const images = []; // { name, file, state, picture, blob, note, answer, error, labels, tile }
let model = null;
let current = null;
let map = 0;
let working = false;
const hidden = new Set();

const colour = (label) => model.palette[Math.min(label, model.palette.length - 1)] ?? [0, 0, 0];
const className = (label) => model.maps[map].classes[label] ?? `class ${label}`;
const view = new View($("stage"), colour);

const say = (words) => { $("status").textContent = words; };
const complain = (words) => {
  $("alert").textContent = words;
  $("alert").hidden = !words;
};

// Images come in --------------------------------------------------------------------------------

const add = (files) => {
  const found = [...files].filter((file) => file.type.startsWith("image/") || !file.type);
  complain(found.length < files.length ? "What is no image was left out." : "");
  if (!found.length) return;
  const first = images.length;
  for (const file of found) {
    const image = { name: file.name || "pasted image", file, state: "waits" };
    image.tile = tile(image);
    images.push(image);
    $("strip").append(element("li", {}, image.tile));
  }
  $("drop").classList.add("small");
  $("strip").hidden = images.length < 2;
  select(images[first]);
  work();
};

const tile = (image) => {
  const made = element("button", { type: "button", title: image.name },
    element("canvas", { width: 112, height: 68 }),
    element("span", { textContent: image.name }),
    element("span", { className: "state", textContent: "waits" }));
  made.addEventListener("click", () => select(image));
  return made;
};

const setState = (image, state, words = state) => {
  image.state = state;
  const line = image.tile.querySelector(".state");
  line.textContent = words;
  line.classList.toggle("bad", state === "failed");
  if (image === current) refresh();
};

const thumbnail = (image) => {
  const canvas = image.tile.querySelector("canvas");
  const { width, height } = image.picture;
  const factor = Math.max(canvas.width / width, canvas.height / height);
  canvas.getContext("2d").drawImage(image.picture, (canvas.width - width * factor) / 2,
    (canvas.height - height * factor) / 2, width * factor, height * factor);
};

// … are segmented -------------------------------------------------------------------------------

const work = async () => {
  if (working || !model) return;
  working = true;
  for (let image; (image = images.find((each) => each.state === "waits"));) await segment(image);
  working = false;
  const failed = images.filter((each) => each.state === "failed").length;
  if (images.length > 1) say(`All ${images.length} images are done${failed ? `, ${failed} failed` : ""}.`);
};

const segment = async (image) => {
  const count = images.length > 1 ? ` ${images.indexOf(image) + 1} of ${images.length}` : "";
  setState(image, "working", "segmenting…");
  say(`Segmenting${count}: ${image.name}`);
  try {
    Object.assign(image, await prepared(image.file, model.limits));
    image.file = null;
    thumbnail(image);
    setState(image, "working", "segmenting…");
    const wait = (seconds) => setState(image, "working", `busy, again in ${seconds} s`);
    image.answer = await (await api.segment(image.blob, "application/json", null, wait)).json();
    if (image.answer.width !== image.picture.width || image.answer.height !== image.picture.height) {
      throw new Error("The server sees the image in another size than this browser.");
    }
    image.labels = image.answer.maps.map((each) => unrolled(each.runs, image.picture.width * image.picture.height));
    setState(image, "done", `${image.answer.seconds.toFixed(2)} s`);
    const top = image.answer.maps[0].shares.slice(0, 3).map((each) => `${each.name} ${percent(each.share)}`);
    say(`${image.name} is done: ${top.join(", ")}`);
  } catch (error) {
    image.error = error.message;
    setState(image, "failed");
  }
};

// … are looked at -------------------------------------------------------------------------------

const select = (image) => {
  current = image;
  view.cursor = null;
  for (const each of images) each.tile.setAttribute("aria-current", each === image);
  $("scores").hidden = true;
  refresh();
};

const redraw = () => {
  if (current?.picture) view.draw($("strength").value / 100, $("contours").checked);
};

const relayer = () => {
  view.show(current.picture, current.labels?.[map], hidden);
  redraw();
};

const refresh = () => {
  const image = current;
  $("work").hidden = !image.picture && image.state === "failed";
  $("title").textContent = image.name;
  $("note").textContent = image.picture ? `${image.picture.width} × ${image.picture.height}${image.note ? `, ${image.note}` : ""}` : "";
  $("busy").hidden = image.state === "done" || image.state === "failed";
  complain(image.error ? `${image.name}: ${image.error}` : "");
  for (const button of ["save-png", "save-overlay", "save-json"]) $(button).disabled = !image.answer;
  if (image.picture) relayer();
  legend($("legend"), image.answer?.maps[map].shares ?? [], colour, hidden, (label, shown) => {
    if (shown) hidden.delete(label);
    else hidden.add(label);
    relayer();
  });
};

const tell = (pixel) => {
  const label = pixel && view.label(pixel);
  const known = label !== null && label !== undefined;
  $("readout").textContent = known ? `${className(label)} at (${pixel.x}, ${pixel.y})`
    : "Point at the image for a class; click for the scores of a pixel.";
  return known ? className(label) : "";
};

const ask = async (pixel) => {
  const image = current;
  if (!image?.answer) return;
  view.cursor = pixel;
  redraw();
  $("scores").hidden = false;
  $("bars").replaceChildren();
  const place = `at (${pixel.x}, ${pixel.y})`;
  if (!model.maps[map].scores) {
    $("pixel").textContent = "The model gives labels only, without scores.";
    return;
  }
  $("pixel").textContent = `Asking for those ${place}…`;
  try {
    const answer = await (await api.segment(image.blob, "application/json", pixel)).json();
    if (image !== current || view.cursor !== pixel) return;
    $("pixel").textContent = `The highest ${place}`;
    const { scores } = answer.maps[map];
    bars($("bars"), scores, className, colour);
    const best = scores.indexOf(Math.max(...scores.filter((each) => each !== null)));
    say(`Highest score ${place}: ${className(best)}, ${scores[best]?.toFixed(2)}`);
  } catch (error) {
    $("pixel").textContent = error.message;
  }
};

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

const onKey = (event) => {
  if (!current?.labels) return;
  const { width, height } = $("stage");
  const at = view.cursor ?? { x: width >> 1, y: height >> 1 };
  if (event.key === "Enter" || event.key === " ") ask({ ...at });
  else if (ARROWS[event.key]) {
    const step = event.shiftKey ? 1 : Math.max(1, Math.round(Math.max(width, height) / 50));
    const [dx, dy] = ARROWS[event.key];
    view.cursor = { x: Math.min(width - 1, Math.max(0, at.x + dx * step)), y: Math.min(height - 1, Math.max(0, at.y + dy * step)) };
    tell(view.cursor);
    redraw();
  } else return;
  event.preventDefault();
};

const onMove = (event) => {
  const pixel = view.pixel(event);
  const name = current?.labels && pixel ? tell(pixel) : "";
  $("tip").hidden = !name;
  if (!name) return;
  $("tip").textContent = name;
  const frame = $("frame").getBoundingClientRect();
  const left = Math.min(event.clientX - frame.left + 14, frame.width - $("tip").offsetWidth - 4);
  const top = Math.min(event.clientY - frame.top + 18, frame.height - $("tip").offsetHeight - 4);
  $("tip").style.left = `${Math.max(4, left)}px`;
  $("tip").style.top = `${Math.max(4, top)}px`;
};

// … and saved -----------------------------------------------------------------------------------

const save = (blob, ending) => {
  const link = element("a", { href: URL.createObjectURL(blob), download: current.name.replace(/\.[^.]*$/, "") + ending });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  say(`Saved ${link.download}`);
};

const saving = (make, ending) => async () => {
  try {
    save(await make(), ending);
  } catch (error) {
    complain(error.message);
  }
};

const overlay = () => new Promise((done) => {
  view.draw($("strength").value / 100, $("contours").checked, false);
  $("stage").toBlob((blob) => {
    redraw();
    done(blob);
  }, "image/png");
});

const json = () => new Blob([`${JSON.stringify({ image: current.name, ...current.answer })}\n`], { type: "application/json" });

// Wiring ----------------------------------------------------------------------------------------

$("choose").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => {
  add($("file").files);
  $("file").value = "";
});
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.add("over");
  });
}
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) $("drop").classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  add(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) add(event.clipboardData.files);
  else complain("There is no image in the clipboard.");
});
$("paste").addEventListener("click", async () => {
  try {
    const found = [];
    for (const item of await navigator.clipboard.read()) {
      const type = item.types.find((each) => each.startsWith("image/"));
      if (type) found.push(new File([await item.getType(type)], "pasted.png", { type }));
    }
    if (found.length) add(found);
    else complain("There is no image in the clipboard.");
  } catch {
    complain("The browser keeps the clipboard to itself: press Ctrl+V instead.");
  }
});
$("camera").addEventListener("click", camera($("camera-box"), $("video"), $("shoot"), $("close"), (file) => add([file]), complain));
$("strength").addEventListener("input", () => {
  $("percent").textContent = `${$("strength").value} %`;
  redraw();
});
$("contours").addEventListener("change", redraw);
$("maps").addEventListener("change", () => {
  map = $("maps").selectedIndex;
  hidden.clear();
  $("scores").hidden = true;
  refresh();
});
$("all").addEventListener("click", () => {
  hidden.clear();
  refresh();
});
$("none").addEventListener("click", () => {
  for (const each of current.answer?.maps[map].shares ?? []) hidden.add(each.class);
  refresh();
});
$("stage").addEventListener("pointermove", onMove);
$("stage").addEventListener("pointerleave", () => {
  $("tip").hidden = true;
  tell(view.cursor);
});
$("stage").addEventListener("click", (event) => {
  const pixel = view.pixel(event);
  if (pixel) ask(pixel);
});
$("stage").addEventListener("keydown", onKey);
$("save-png").addEventListener("click", saving(async () => (await api.segment(current.blob, "image/png")).blob(), ".png"));
$("save-overlay").addEventListener("click", saving(overlay, ".overlay.png"));
$("save-json").addEventListener("click", saving(json, ".json"));

try {
  model = await api.model();
  const count = model.maps[0].count ?? model.maps[0].classes.length;
  $("model").textContent = `${model.name} · ${count ? `${count} classes · ` : ""}${model.device}`;
  document.title = `${model.name} · fcnproto`;
  $("maps").replaceChildren(...model.maps.map((each) => element("option", { textContent: each.blob })));
  $("maps-label").hidden = model.maps.length < 2;
  work();
} catch (error) {
  $("model").textContent = "";
  complain(error.message);
}
