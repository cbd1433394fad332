/**
 * The code of a language for the Hub (ISO 639) from what a configuration calls it: a code, with or without a
 * region, its English name, or its own name. The names come from the Unicode data of Node.
 */

/** ISO 639-1, and what has no code there but many speakers. */
const CODES = (
  'aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee ' +
  'el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is ' +
  'it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms ' +
  'mt my na nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk ' +
  'sl sm sn so sq sr ss st su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi ' +
  'yo za zh zu arz ary apc arq aeb acm ceb ckb fil haw hmn kab nap pap scn tzm yue'
).split(' ');

const known = new Set(CODES);
let byName: ReadonlyMap<string, string> | null = null;

/** Null for what is no language that we know. */
export function languageCode(language: string): string | null {
  const name = language.trim().toLowerCase();
  const [code = ''] = name.split(/[-_]/);
  if (known.has(code) && /^[a-z]{2,3}(?:[-_][a-z0-9]{2,8})*$/.test(name)) return code;
  byName ??= namesOfLanguages();
  // Varieties: "Moroccan Arabic" is in the table, "Arabic (Gulf)" is Arabic.
  return byName.get(name) ?? byName.get(name.replace(/\s*\(.*\)$/, '')) ?? null;
}

function namesOfLanguages(): ReadonlyMap<string, string> {
  const english = new Intl.DisplayNames(['en'], { type: 'language', fallback: 'none' });
  const names = new Map<string, string>();
  for (const code of CODES) {
    const own = new Intl.DisplayNames([code], { type: 'language', fallback: 'none' });
    for (const name of [own.of(code), english.of(code)])
      if (name !== undefined) names.set(name.toLowerCase(), code);
  }
  for (const [name, code] of OTHER_NAMES) names.set(name, code);
  return names;
}

const OTHER_NAMES = [
  ['chinese (simplified)', 'zh'],
  ['mandarin', 'zh'],
  ['mandarin chinese', 'zh'],
  ['cantonese', 'yue'],
  ['farsi', 'fa'],
  ['darija', 'ary'],
  ['levantine arabic', 'apc'],
  ['modern standard arabic', 'ar'],
  ['msa', 'ar'],
  ['flemish', 'nl'],
  ['castilian', 'es'],
  ['moldovan', 'ro'],
  ['burmese', 'my'],
  ['tagalog', 'tl'],
  ['norwegian', 'no'],
] as const;
