// Runs a model in onnxruntime-web, in Node and in browsers alike; compatibility.py calls it.

const ARRAYS = { float32: Float32Array, uint8: Uint8Array };

function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

function base64Of(bytes) {
  const parts = [];
  for (let start = 0; start < bytes.length; start += 8192) {
    parts.push(String.fromCharCode(...bytes.subarray(start, start + 8192)));
  }
  return btoa(parts.join(""));
}

/** The outputs of a model (bytes) for several feeds; feeds and outputs are {name: {type, dims, data}}. */
export async function run(ort, model, manyFeeds, provider) {
  ort.env.wasm.numThreads = 1;
  ort.env.logLevel = "error";
  const session = await ort.InferenceSession.create(model, { executionProviders: [provider] });
  const results = [];
  for (const feeds of manyFeeds) {
    const tensors = {};
    for (const [name, { type, dims, data }] of Object.entries(feeds)) {
      tensors[name] = new ort.Tensor(type, new ARRAYS[type](bytesOf(data).buffer), dims);
    }
    const result = {};
    for (const [name, tensor] of Object.entries(await session.run(tensors))) {
      const data = await tensor.getData();
      const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      result[name] = { type: tensor.type, dims: tensor.dims, data: base64Of(bytes) };
    }
    results.push(result);
  }
  return results;
}

if (typeof process !== "undefined" && process.versions?.node) {
  const { readFileSync } = await import("node:fs");
  const ort = await import("onnxruntime-web");
  const [folder, provider] = process.argv.slice(2);
  const feeds = JSON.parse(readFileSync(`${folder}/feeds.json`, "utf8"));
  const results = await run(ort, readFileSync(`${folder}/model.onnx`), feeds, provider);
  process.stdout.write(JSON.stringify(results));
}
