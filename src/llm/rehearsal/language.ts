/** Languages that the rehearsal backend can write. */
export type Language = 'en' | 'fr' | 'ar' | 'es' | 'de';

const NAMES: Readonly<Record<Language, string>> = {
  en: 'en eng english anglais usa uk american british',
  fr: 'fr fra fre french français francais française francaise france quebec québec',
  ar: `ar ara arabic arabe arabisch árabe msa fusha العربية عربي عربية الفصحى morocco moroccan darija maghrebi algeria
    algerian tunisia tunisian libya libyan egypt egyptian sudan sudanese gulf khaleeji saudi hijazi najdi uae emirati
    kuwait kuwaiti qatar qatari bahrain bahraini oman omani yemen yemeni iraq iraqi levant levantine lebanon lebanese
    syria syrian jordan jordanian palestine palestinian mauritania mauritanian`,
  es: 'es spa spanish español espanol castellano castilian spain espagnol mexico latam',
  de: 'de deu ger german deutsch germany deutschland allemand austria österreich',
};

const BY_NAME = new Map<string, Language>(
  (Object.entries(NAMES) as [Language, string][]).flatMap(([language, names]) =>
    names.split(/\s+/u).map((name): [string, Language] => [name, language]),
  ),
);

/**
 * What a configured language name means: codes (`fr`, `fr-CA`, `ar_EG`), names in several
 * languages, and Arabic dialects, which are written as Modern Standard Arabic. Unknown names are
 * written in English.
 */
export function recogniseLanguage(name: string): Language {
  const lower = name.normalize('NFC').trim().toLowerCase();
  const whole = BY_NAME.get(lower);
  if (whole !== undefined) return whole;
  for (const word of lower.split(/[^\p{L}\p{M}]+/u)) {
    const language = BY_NAME.get(word);
    if (language !== undefined) return language;
  }
  return 'en';
}

const FUNCTION_WORDS: Readonly<Record<Language, string>> = {
  en: `a an the and or but if of in on at by for from to into with without as is are was were be been being it its
    this that these those there here he she they them their we you your our i not no nor so than then when where which
    who whose what how why can could may might must shall should will would do does did done has have had having all
    any both each few more most much many other some such only own same too very just also about over under after
    before between through during because while until against up down out off again once per every one two near
    within across along around among toward towards upon onto above below behind beside via like unlike however
    therefore thus often usually always never sometimes still yet even rather well less least much`,
  fr: `le la les un une des du de d l au aux et ou mais si en dans sur sous par pour avec sans comme est sont était
    étaient être été il elle ils elles on nous vous je tu ce cet cette ces cela ça qui que qu quoi dont où quand
    comment pourquoi ne pas plus moins ni se sa son ses leur leurs notre nos votre vos y a ont avait avoir fait faire
    peut peuvent doit doivent tout tous toute toutes chaque même très aussi entre après avant pendant depuis lors vers
    chez donc car puis afin ainsi deux contre selon parmi malgré sauf hors souvent toujours jamais encore`,
  ar: `في من إلى على عن مع أو ثم أن إن لا ما لم لن قد هذا هذه ذلك تلك هو هي هم التي الذي الذين كل بعض بين بعد قبل
    عند حتى كما لكن بل غير كان كانت يكون تكون هناك و أي أيضا منذ حيث إذا لأن فقط دون نحو خلال`,
  es: `el la los las un una unos unas de del al y o u pero si en sobre bajo por para con sin como es son era eran ser
    sido está están estar hay él ella ellos ellas se su sus lo le les nos que quien cual cuyo cuando donde cómo qué no
    ni más menos muy también entre tras antes después desde hasta durante cada todo toda todos todas este esta estos
    estas ese esa eso esto puede pueden debe deben ha han había porque pues así dos`,
  de: `der die das den dem des ein eine einen einem einer eines und oder aber wenn ob in im an am auf aus bei mit nach
    von vom zu zum zur für über unter vor hinter durch gegen ohne um als wie ist sind war waren sein gewesen wird
    werden wurde wurden es er sie wir ihr ich man sich nicht kein keine mehr sehr auch nur noch schon dass daß weil
    damit dieser diese dieses jeder jede jedes kann können muss müssen soll sollen hat haben hatte zwei`,
};

const WORDS_OF = new Map<Language, ReadonlySet<string>>(
  (Object.entries(FUNCTION_WORDS) as [Language, string][]).map(([language, text]) => [
    language,
    new Set(text.split(/\s+/u)),
  ]),
);

const ALL_FUNCTION_WORDS: ReadonlySet<string> = new Set([...WORDS_OF.values()].flatMap((set) => [...set]));

/** `word` in lower case. Words that carry no content in any of the languages. */
export const isFunctionWord = (word: string): boolean => ALL_FUNCTION_WORDS.has(word);

const ARABIC_LETTER = /\p{Script=Arabic}/u;

/** The language whose function words are most frequent among `words` (lower case). */
export function detectLanguage(words: readonly string[]): Language | null {
  if (words.filter((word) => ARABIC_LETTER.test(word)).length > words.length / 2) return 'ar';
  let best: Language | null = null;
  let most = 0;
  for (const [language, set] of WORDS_OF) {
    const hits = words.reduce((count, word) => count + (set.has(word) ? 1 : 0), 0);
    if (hits > most) [best, most] = [language, hits];
  }
  return best;
}
