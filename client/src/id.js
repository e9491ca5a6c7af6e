/** A unique id, and no secret: 32 hexadecimal digits. */
export function randomId() {
  const bytes = new Uint8Array(16);
  // React Native has no crypto of its own.
  if (/** @type {Partial<Crypto> | undefined} */ (globalThis.crypto)?.getRandomValues) crypto.getRandomValues(bytes);
  else bytes.forEach((_, n) => { bytes[n] = Math.random() * 256; });
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
