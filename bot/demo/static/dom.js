// Small things every part of the page needs.

/** Make an element; texts become text nodes, so nothing that came over the wire is ever read as HTML. */
export function element(tag, properties = {}, children = []) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name in node && !name.startsWith("data-") && !name.startsWith("aria-")) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== undefined && child !== null && child !== "" && child !== false));
  return node;
}

/** A drawing of one stroke. */
export function icon(path) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const stroke = document.createElementNS("http://www.w3.org/2000/svg", "path");
  stroke.setAttribute("d", path);
  svg.append(stroke);
  return svg;
}

/** A text as nodes, its web addresses as links. */
export function withLinks(text) {
  return text.split(/(https?:\/\/[^\s<>"«»]+[^\s<>"«».,;:!?)\]])/g).map((piece, place) =>
    place % 2 ? element("a", { href: piece, target: "_blank", rel: "noopener noreferrer" }, [piece]) : piece,
  );
}

// A browser may refuse to store things (private windows); the page then works without memory.
export function remembered(name) {
  try {
    return localStorage.getItem(`demo.${name}`);
  } catch {
    return null;
  }
}

export function remember(name, value) {
  try {
    if (value === null) localStorage.removeItem(`demo.${name}`);
    else localStorage.setItem(`demo.${name}`, value);
  } catch {
    // Nothing to do: see above.
  }
}

/** A random name of 24 characters that are safe in an address. */
export function randomName() {
  const bytes = crypto.getRandomValues(new Uint8Array(18));
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_");
}

/** A random UUID; `crypto.randomUUID` is missing on pages that are neither https nor loopback. */
export function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

/** Ask again and again: `ask` returns how long to wait, in milliseconds. Call the result to ask at once. */
export function repeat(ask) {
  let timer = 0;
  let running = false;
  let again = false;
  async function round() {
    // An answer under way may be older than what made us ask: ask once more after it.
    again = running;
    if (running) return;
    running = true;
    clearTimeout(timer);
    const wait = await ask();
    running = false;
    timer = setTimeout(round, again ? 0 : wait);
  }
  document.addEventListener("visibilitychange", () => document.hidden || round());
  round();
  return round;
}
