import type { Passage } from '../../src/dialogue/passage.ts';
import type { Retriever } from '../../src/ports/retriever.ts';

const words = (text: string): Set<string> => new Set(text.toLowerCase().match(/\p{L}{3,}/gu) ?? []);

/** Passages in memory, found by shared words; deterministic. */
export function memoryRetriever(passages: readonly Passage[]): Retriever {
  const byId = new Map(passages.map((passage) => [passage.id, passage]));
  const sources = [...new Set(passages.map((passage) => passage.source))];
  const known = passages.map((passage) => ({ passage, words: words(passage.text) }));
  return {
    info: {
      fingerprint: `memory-${passages.length}`,
      documents: sources.map((source) => ({
        source,
        passageIds: passages.filter((passage) => passage.source === source).map((passage) => passage.id),
      })),
      passageCount: passages.length,
      mode: 'full_text',
      embedder: null,
    },
    async search(query, k) {
      const wanted = words(query);
      return known
        .map((entry) => ({
          passage: entry.passage,
          score: [...wanted].filter((word) => entry.words.has(word)).length,
        }))
        .filter((entry) => entry.score > 0)
        .sort((a, b) => b.score - a.score || (a.passage.id < b.passage.id ? -1 : 1))
        .slice(0, k)
        .map((entry) => entry.passage);
    },
    get: async (ids) => ids.flatMap((id) => byId.get(id) ?? []),
    close: async () => undefined,
  };
}

const TOPICS = ['tides', 'harbours', 'lighthouses', 'currents', 'sandbanks', 'estuaries', 'buoys', 'charts'];
const FACTS = [
  'rise twice a day where the basin is open to the ocean',
  'were surveyed again after every storm season',
  'are kept by a crew of three who change every second week',
  'move a little east each year because the river brings gravel',
  'need a depth of four metres for the ferries to pass safely',
];

/** A small knowledge base: eight documents of five passages. */
export function seaPassages(): Passage[] {
  return TOPICS.flatMap((topic, document) =>
    FACTS.map((fact, index) => {
      const text = `In the year ${1900 + document * 7 + index} the pilots noted that the ${topic} of the northern bay ${fact}. Sailors of section ${document}${index} learned the rule by heart, and the ${topic} book repeats it on page ${index + 1}.`;
      return {
        id: `p-${document}-${index}`,
        source: `${topic}.md`,
        descriptor: `The ${topic} › part ${index + 1}`,
        index,
        text,
        charStart: index * 300,
        charEnd: index * 300 + text.length,
      };
    }),
  );
}
