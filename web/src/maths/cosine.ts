/** Cosines between unit vectors, as a whole matrix. */

/** Returns the n x n matrix of dot products, row by row; the diagonal is 1. */
export function cosineMatrix(units: Float32Array[]): Float64Array {
  const n = units.length;
  const matrix = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    matrix[i * n + i] = 1;
    for (let j = i + 1; j < n; j++) {
      const value = Math.max(-1, Math.min(1, dot(units[i], units[j])));
      matrix[i * n + j] = matrix[j * n + i] = value;
    }
  }
  return matrix;
}

function dot(one: Float32Array, other: Float32Array): number {
  let sum = 0;
  for (let k = 0; k < one.length; k++) sum += one[k] * other[k];
  return sum;
}

/** Returns 1 - cosine, never below 0. */
export function distances(cosines: Float64Array): Float64Array {
  return cosines.map((cosine) => Math.max(0, 1 - cosine));
}
