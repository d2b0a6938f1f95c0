// Random values from a seed, so that the sources are always the same.

let state = 20261128;

export function random() {
  // mulberry32
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
}

export const below = (limit) => Math.floor(random() * limit);
export const draw = (share) => random() < share;
export const choose = (values) => values[below(values.length)];
export const times = (count, make) => Array.from({ length: count }, (_, index) => make(index));
export const some = (values, most) => [...values].sort(() => random() - 0.5).slice(0, below(most + 1));
export const hex = (length) => times(length, () => "0123456789abcdef"[below(16)]).join("");

const LETTERS = "23456789ABCDEFGHJKLMNPQRSTWXYZabcdefghijkmnopqrstuvwxyz";
export const meteorId = () => times(17, () => LETTERS[below(LETTERS.length)]).join("");

let now = Date.UTC(2023, 0, 5);
export function date() {
  now += 1 + below(3_600_000);
  return new Date(now);
}

let count = 0;
// Returns the hex digits of an ObjectId.
export function objectId() {
  count += 1;
  return Math.floor(now / 1000).toString(16).padStart(8, "0") + "a1b2c3d4e5" + count.toString(16).padStart(6, "0");
}

const WORDS = `anchor basin cable deck ember field garnet harbour inlet jetty kelp lantern mast needle oak pier quay rope
sail tide umber vessel wharf yawl zinc amber birch cedar dune estuary fjord gale heron islet juniper knot lagoon`.split(/\s+/);
export const words = (most) => times(1 + below(most), () => choose(WORDS)).join(" ");
export const title = (most) => words(most).replace(/^./, (letter) => letter.toUpperCase());
