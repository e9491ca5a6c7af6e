/** An address with its query. By hand, because not every platform's `URL` can be changed (React Native's cannot).
 * @param {string} base ends with "/" @param {string} path @param {[string, unknown][]} pairs without those undefined */
export function address(base, path, pairs) {
  const query = pairs.filter(([, value]) => value !== undefined).map(([name, value]) => `${name}=${plain(value)}`);
  return base + path + (query.length ? `?${query.join("&")}` : "");
}

/** Lists of rooms are long: what need not be escaped is not. @param {unknown} value */
function plain(value) {
  return encodeURIComponent(String(value)).replace(/%(2C|3A|3D)/g, decodeURIComponent);
}
