/** An address with its query. By hand, because not every platform's `URL` can be changed (React Native's cannot).
 * @param {string} base ends with "/" @param {string} path @param {[string, unknown][]} pairs without those undefined */
export function address(base: string, path: string, pairs: [string, unknown][]): string;
