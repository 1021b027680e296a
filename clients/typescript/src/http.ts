import type { AnyDocument } from "./document.js";
import { type GraphQLErrorJson, SatreelError } from "./errors.js";

const ACCEPT = "application/graphql-response+json, application/json;q=0.9";
/** What the gateway wants to see on uploads, so that no other site's form can send one. */
const PREFLIGHT = "x-satreel-preflight";

/** How requests reach the gateway. */
export interface Wire {
  readonly url: string;
  readonly fetch: typeof fetch;
  /** Milliseconds for one attempt. */
  readonly timeoutMs: number;
  /** Send hashes, and texts only where the gateway does not know one. */
  readonly sendHashes: boolean;
  /** The span that a request belongs to, as W3C Trace Context writes it. */
  readonly traceparent?: () => string | undefined;
}

interface Answer {
  readonly data?: unknown;
  readonly errors?: readonly GraphQLErrorJson[];
}

/** One request and its answer's data. Throws SatreelError; the signal's reason when it is aborted. */
export async function post(
  wire: Wire,
  document: AnyDocument,
  variables: Record<string, unknown>,
  accessToken?: string,
  signal?: AbortSignal,
): Promise<unknown> {
  const hashed = { operationName: document.name, variables, extensions: persisted(document) };
  if (!wire.sendHashes) return send(wire, { query: document.text, operationName: document.name, variables }, accessToken, signal);
  try {
    return await send(wire, hashed, accessToken, signal);
  } catch (error) {
    if (!(error instanceof SatreelError && error.code === "PERSISTED_QUERY_NOT_FOUND")) throw error;
    return send(wire, { query: document.text, ...hashed }, accessToken, signal);
  }
}

function persisted({ hash }: { hash: string }): object {
  return { persistedQuery: { version: 1, sha256Hash: hash } };
}

async function send(wire: Wire, body: Body, accessToken?: string, signal?: AbortSignal): Promise<unknown> {
  const headers = new Headers({ accept: ACCEPT });
  if (accessToken) headers.set("authorization", `Bearer ${accessToken}`);
  const traceparent = wire.traceparent?.();
  if (traceparent) headers.set("traceparent", traceparent);
  const timeout = AbortSignal.timeout(wire.timeoutMs);
  let response: Response;
  let text: string;
  try {
    response = await wire.fetch(wire.url, {
      method: "POST",
      headers,
      body: encoded(body, headers),
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
    });
    text = await response.text();
  } catch (cause) {
    signal?.throwIfAborted();
    throw new SatreelError("NO_ANSWER", "No answer came from the gateway.", { cause });
  }
  return dataOf(response, text);
}

function dataOf(response: Response, text: string): unknown {
  const about = { httpStatus: response.status, retryAfterMs: retryAfterMs(response.headers) };
  const answer = parsed(text);
  if (answer?.errors?.length) throw SatreelError.of(answer.errors, { ...about, data: answer.data, executed: "data" in answer });
  if (answer?.data) return answer.data;
  throw new SatreelError("NOT_GRAPHQL", `The answer is no GraphQL: HTTP ${response.status}.`, { ...about, executed: response.status !== 429 });
}

function parsed(text: string): Answer | null {
  try {
    const answer: unknown = JSON.parse(text);
    return typeof answer === "object" ? answer : null;
  } catch {
    return null;
  }
}

/** Of a Retry-After header, in either of its forms (RFC 9110, 10.2.3); a moment is by the clock of who answered. */
function retryAfterMs(headers: Headers): number | undefined {
  const after = headers.get("retry-after");
  if (!after) return undefined;
  const answeredMs = Date.parse(headers.get("date") ?? "") || Date.now();
  const ms = /^\d+$/.test(after) ? Number(after) * 1000 : Date.parse(after) - answeredMs;
  return Number.isNaN(ms) ? undefined : Math.max(0, ms);
}

interface Body {
  readonly variables: Record<string, unknown>;
  readonly [field: string]: unknown;
}

/** JSON; or, with files among the variables, by the GraphQL multipart request specification. */
function encoded(body: Body, headers: Headers): string | FormData {
  const files = Object.entries(body.variables).filter(([, value]) => value instanceof Blob) as [string, Blob][];
  if (files.length === 0) {
    headers.set("content-type", "application/json");
    return JSON.stringify(body);
  }
  headers.set(PREFLIGHT, "1");
  const form = new FormData();
  const blanks = Object.fromEntries(files.map(([name]) => [name, null]));
  form.append("operations", JSON.stringify({ ...body, variables: { ...body.variables, ...blanks } }));
  form.append("map", JSON.stringify(Object.fromEntries(files.map(([name]) => [name, [`variables.${name}`]]))));
  for (const [name, file] of files) form.append(name, file);
  return form;
}
