// Asking the server. Every failure becomes an Error whose message is for people.

const MOST_TRIES = 8;

const words = async (response) => {
  try {
    return (await response.json()).error ?? `The server answered ${response.status}.`;
  } catch {
    return `The server answered ${response.status}.`;
  }
};

const ask = async (path, options) => {
  try {
    return await fetch(path, options);
  } catch {
    throw new Error("The server does not answer. Is it still running?");
  }
};

export const model = async () => {
  const response = await ask("model");
  if (!response.ok) throw new Error(await words(response));
  return response.json();
};

// The answer for an image; `wait` is told when the server is busy and asked again.
export const segment = async (blob, accept, pixel = null, wait = () => {}) => {
  const query = pixel ? `?x=${pixel.x}&y=${pixel.y}` : "";
  for (let attempt = 1; ; attempt += 1) {
    const response = await ask(`segment${query}`, {
      method: "POST",
      headers: { Accept: accept, "Content-Type": "application/octet-stream" },
      body: blob,
    });
    if (response.ok) return response;
    if (response.status !== 503 || attempt === MOST_TRIES) throw new Error(await words(response));
    const seconds = Number(response.headers.get("Retry-After")) || 1;
    wait(seconds);
    await new Promise((done) => setTimeout(done, seconds * 1000));
  }
};
