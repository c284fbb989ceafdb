// The OpenAPI document, to be read.

import { element } from "./panels.js";

const table = (title, rows) => (rows.length ? [element("h3", { textContent: title }), element("table", {},
  element("tbody", {}, ...rows.map(([name, text]) => element("tr", {},
    element("th", { scope: "row" }, element("code", { textContent: name })),
    element("td", { textContent: text })))))] : []);

const endpoint = (method, path, operation) => element("section", { className: "endpoint" },
  element("h2", {}, element("code", { textContent: `${method.toUpperCase()} ${path}` })),
  ...(operation.description ?? operation.summary ?? "").split("\n\n").map((text) => element("p", { textContent: text })),
  ...table("Parameters", (operation.parameters ?? []).map((each) => [each.name, each.description ?? ""])),
  ...table("Body", Object.keys(operation.requestBody?.content ?? {}).map((each) => [each, ""])),
  ...table("Answers", Object.entries(operation.responses).map(([status, answer]) =>
    [status, `${answer.description} ${Object.keys(answer.content ?? {}).join(", ")}`])));

const { origin } = location;
document.getElementById("examples").textContent = [
  `curl --data-binary @photo.jpg -H "Accept: image/png" ${origin}/segment -o labels.png`,
  `curl -F image=@photo.jpg -H "Accept: image/jpeg" ${origin}/segment -o overlay.jpg`,
  `curl -F image=@photo.jpg "${origin}/segment?x=10&y=20"`,
].join("\n");

const place = document.getElementById("endpoints");
try {
  const document_ = await (await fetch("openapi.json")).json();
  place.replaceChildren(...Object.entries(document_.paths).flatMap(([path, operations]) =>
    Object.entries(operations).map(([method, operation]) => endpoint(method, path, operation))));
} catch {
  place.textContent = "The server does not answer. Is it still running?";
}
