/** Starts of well-known keys that would pass for a variable's name. */
const KEY_STARTS = /^(?:sk|gsk|hf|xai|rk|pk)_|^AIza/;

/**
 * Whether `text` can be the name of an environment variable. People put the key itself where its
 * variable's name belongs; what looks like a key is refused without being shown (I8).
 */
export const isVariableName = (text: string): boolean =>
  /^[A-Za-z_]\w{0,63}$/.test(text) && !KEY_STARTS.test(text);

export const VARIABLE_NAME_RULE = 'must be the name of an environment variable, not the key itself.';
