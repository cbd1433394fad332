import type { PlannedCall, Scene } from './scene.ts';
import { asRecord, type RequestTool } from './chat-request.ts';
import { JsonSchemaSample } from './json-schema-sample.ts';

/**
 * Calls for tools that are not dlgforge's: the one that `tool_choice` names, or the first one, once
 * per user message. Without a demand, only tools that take a text to search for are called.
 */
export function planGenericCalls(scene: Scene, question: string): readonly PlannedCall[] {
  const { request } = scene;
  const choice = request.toolChoice;
  if (choice.type === 'none') return [];
  if (choice.type === 'tool')
    return callsOf(
      scene,
      request.tools.find((tool) => tool.name === choice.name),
      question,
    );
  if (choice.type === 'required') return callsOf(scene, request.tools[0], question);
  const lastUser = request.messages.findLastIndex((message) => message.role === 'user');
  if (request.messages.slice(lastUser + 1).some((message) => message.role === 'tool')) return [];
  return callsOf(scene, request.tools.find(takesText), question);
}

function callsOf(scene: Scene, tool: RequestTool | undefined, question: string): readonly PlannedCall[] {
  if (tool === undefined) return [];
  const sample = new JsonSchemaSample(tool.parameters, scene.draws, question).make();
  return [{ name: tool.name, arguments: sample }];
}

function takesText(tool: RequestTool): boolean {
  const properties = asRecord(tool.parameters.properties) ?? {};
  return Object.values(properties).some((property) => asRecord(property)?.type === 'string');
}
