export const openObjectBlobs = (_w: unknown): Promise<never> => Promise.reject(new Error('x'));
