/** The hypergeometric upper tail and the Benjamini-Hochberg correction. */

const TABLE: number[] = [0, 0];
let lost = 0;

/**
 * Returns ln(n!) = ln Gamma(n + 1). The sums are kept in a table and what rounding loses is carried along (Kahan's
 * summation), so that 20,000! is as exact as 20!.
 */
export function logFactorial(n: number): number {
  for (let i = TABLE.length; i <= n; i++) {
    const term = Math.log(i) - lost;
    const sum = TABLE[i - 1] + term;
    lost = sum - TABLE[i - 1] - term;
    TABLE.push(sum);
  }
  return TABLE[n];
}

function logChoose(n: number, k: number): number {
  return logFactorial(n) - logFactorial(k) - logFactorial(n - k);
}

/**
 * Returns P(X >= overlap), where X counts members among `drawn` things taken without replacement from `all` things, of
 * which `members` are members. The same as scipy.stats.hypergeom.sf(overlap - 1, all, members, drawn).
 */
export function upperTail(overlap: number, all: number, members: number, drawn: number): number {
  const highest = Math.min(members, drawn);
  if (overlap <= Math.max(0, drawn + members - all)) return 1;
  if (overlap > highest) return 0;
  const whole = logChoose(all, drawn);
  let term = Math.exp(logChoose(members, overlap) + logChoose(all - members, drawn - overlap) - whole);
  let sum = 0;
  for (let k = overlap; k <= highest; k++) {
    sum += term;
    term *= ((members - k) / (k + 1)) * ((drawn - k) / (all - members - drawn + k + 1));
  }
  return Math.min(1, sum);
}

/** Returns Benjamini and Hochberg's (1995) adjusted p-values, in the order of the p-values. */
export function benjaminiHochberg(p: number[]): number[] {
  const order = p.map((_, i) => i).sort((one, other) => p[other] - p[one]);
  const q = new Array<number>(p.length);
  let lowest = 1;
  order.forEach((i, position) => {
    lowest = Math.min(lowest, (p[i] * p.length) / (p.length - position));
    q[i] = lowest;
  });
  return q;
}
