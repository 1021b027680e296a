/** What a document does. */
export type Kind = "query" | "mutation" | "subscription";

/** An operation of `@satreel/client/operations`, or one of your own of this shape. */
export interface Document<K extends Kind = Kind, Data = unknown, Variables = Record<string, unknown>> {
  readonly name: string;
  readonly kind: K;
  /** GraphQL, with the fragments it needs. */
  readonly text: string;
  /** SHA-256 of the text, hex: what `trusted-documents.json` and persisted queries know it by. */
  readonly hash: string;
  /** It takes an `id` of the caller's, and sent again with the same one it is carried out once. */
  readonly repeatable: boolean;
  /** Never there: carries the types, by the convention of `@graphql-typed-document-node/core`. */
  readonly __apiType?: (variables: Variables) => Data;
}

/** Whatever its types are. */
export type AnyDocument = Document<Kind, unknown, never>;

/** Data of a document's answer: `DataOf<typeof CurrentRound>`. */
export type DataOf<D> = D extends Document<Kind, infer Data, never> ? Data : never;

/** Variables that a document takes. */
export type VariablesOf<D> = D extends { readonly __apiType?: (variables: infer Variables) => unknown } ? Variables : never;

/** Arguments of a call: variables may be left out where none is needed. */
export type Arguments<Variables, Options> =
  Record<never, never> extends Variables ? [variables?: Variables, options?: Options] : [variables: Variables, options?: Options];

/** The variables to send: a repeatable document gets an id unless it has one. */
export function withId(document: AnyDocument, variables: object = {}): Record<string, unknown> {
  const given: Record<string, unknown> = { ...variables };
  if (document.repeatable) given["id"] ??= uuid7();
  return given;
}

/** A fresh UUIDv7 (RFC 9562): sorts by time, and cannot be guessed. */
export function uuid7(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  new DataView(bytes.buffer).setUint32(0, Math.floor(Date.now() / 0x10000));
  new DataView(bytes.buffer).setUint16(4, Date.now() % 0x10000);
  bytes[6] = 0x70 | (bytes[6]! & 0x0f);
  bytes[8] = 0x80 | (bytes[8]! & 0x3f);
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/(.{8})(.{4})(.{4})(.{4})(.{12})/, "$1-$2-$3-$4-$5");
}
