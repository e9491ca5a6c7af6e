/** An id that is nobody else's, and no secret: 32 hexadecimal digits. */
export function randomId(): string;
