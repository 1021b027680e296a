/** Every operation of the package, and the types of its answers. */
export * from "./generated/documents.js";
export type * from "./generated/types.js";
