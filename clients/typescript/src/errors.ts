import type { KnownCode } from "./generated/codes.js";

/** What this package says: no answer came; it was no GraphQL; the WebSocket was closed for good. */
export type ClientCode = "NO_ANSWER" | "NOT_GRAPHQL" | "SOCKET_CLOSED";

/** Known codes; a later gateway may send others. */
export type ErrorCode = KnownCode | ClientCode | (string & Record<never, never>);

/** One error as the gateway sends it. */
export interface GraphQLErrorJson {
  readonly message: string;
  readonly path?: readonly (string | number)[];
  readonly extensions?: {
    readonly code?: string;
    /** Service that refused, e.g. "market". */
    readonly service?: string;
    /** Its gRPC status, e.g. "FAILED_PRECONDITION". */
    readonly status?: string;
    readonly metadata?: Readonly<Record<string, string>>;
    /** Which fields break which rule, of INVALID_ARGUMENT. */
    readonly violations?: readonly { readonly field: string; readonly rule: string }[];
    /** Of INTERNAL: finds it in the gateway's log. */
    readonly errorId?: string;
  };
}

interface Circumstances {
  readonly errors?: readonly GraphQLErrorJson[];
  readonly data?: unknown;
  readonly executed?: boolean;
  readonly httpStatus?: number;
  readonly retryAfterMs?: number | undefined;
  readonly closeCode?: number;
  readonly cause?: unknown;
}

/** Codes of this package and the gateway, and gRPC statuses of services, after which nobody knows what was done. */
const OUTCOME_UNKNOWN: ReadonlySet<string> = new Set(["NO_ANSWER", "NOT_GRAPHQL", "INTERNAL", "UNAVAILABLE", "DEADLINE_EXCEEDED", "UNKNOWN"]);
const TRANSIENT: ReadonlySet<string> = new Set(["NO_ANSWER", "UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "OVERLOADED"]);
const TRANSIENT_HTTP: ReadonlySet<number> = new Set([429, 502, 503, 504]);
const TOKEN_REFUSED: ReadonlySet<string> = new Set(["SESSION_INVALID", "TOKEN_INVALID"]);

/** Everything that this package throws, but for mistakes in its use. Look at `code`; `message` is for people. */
export class SatreelError extends Error {
  override readonly name = "SatreelError";
  readonly code: ErrorCode;
  /** All errors of the answer; the first gives `code` and `details`. */
  readonly errors: readonly GraphQLErrorJson[];
  /** What there is in spite of the errors. */
  readonly data: unknown;
  readonly httpStatus: number | undefined;
  /** The gateway's wish, before the same is asked again. */
  readonly retryAfterMs: number | undefined;
  /** Of SOCKET_CLOSED. */
  readonly closeCode: number | undefined;
  /** False when the gateway refused before it did anything. */
  readonly executed: boolean;

  constructor(code: ErrorCode, message: string, about: Circumstances = {}) {
    super(message, { cause: about.cause });
    this.code = code;
    this.errors = about.errors ?? [];
    this.data = about.data;
    this.httpStatus = about.httpStatus;
    this.retryAfterMs = about.retryAfterMs;
    this.closeCode = about.closeCode;
    this.executed = about.executed ?? true;
  }

  /** The error of an answer that has some. */
  static of(errors: readonly GraphQLErrorJson[], about: Omit<Circumstances, "errors"> = {}): SatreelError {
    const { message, extensions } = errors[0] ?? {};
    const waitS = extensions?.metadata?.["retry_after_s"];
    const retryAfterMs = about.retryAfterMs ?? (waitS === undefined ? undefined : Number(waitS) * 1000);
    return new SatreelError(extensions?.code ?? "NOT_GRAPHQL", message ?? "An error without words.", { ...about, retryAfterMs, errors });
  }

  /** Service, status, metadata, violations, errorId of the first error, where there are any. */
  get details(): NonNullable<GraphQLErrorJson["extensions"]> {
    return this.errors[0]?.extensions ?? {};
  }

  /** A mutation that failed so may have been carried out: look before you ask again. */
  get outcomeUnknown(): boolean {
    return this.executed && this.#isAny(OUTCOME_UNKNOWN);
  }

  /** The same may well succeed in a moment. */
  get isTransient(): boolean {
    return this.#isAny(TRANSIENT) || TRANSIENT_HTTP.has(this.httpStatus ?? 0);
  }

  /** The access token is not, or no longer, good. */
  get isTokenRefused(): boolean {
    return TOKEN_REFUSED.has(this.code);
  }

  #isAny(kinds: ReadonlySet<string>): boolean {
    return kinds.has(this.code) || kinds.has(this.details.status ?? "");
  }
}
