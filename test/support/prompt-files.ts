import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { type PromptAssets, type PromptFiles, parsePromptAssets } from '../../src/dialogue/prompt-assets.ts';

const readAsset = (name: string) => {
  const url = new URL(`../../prompts/${name}`, import.meta.url);
  return [{ file: `prompts/${name}`, value: parse(readFileSync(url, 'utf8')) as unknown }];
};

/** The prompts that come with dlgforge, read as the bootstrap reads them. */
export const shippedPromptFiles = (): PromptFiles => ({
  agents: readAsset('agents.yaml'),
  tasks: readAsset('tasks.yaml'),
});

export const shippedPromptAssets = (): PromptAssets => parsePromptAssets(shippedPromptFiles());
