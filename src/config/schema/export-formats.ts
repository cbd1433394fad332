/** Apart from the schema, which takes long to load: the command line offers them too. */
export const EXPORT_FORMATS = ['sharegpt', 'openai', 'chatml', 'parquet', 'jsonl.zst'] as const;
