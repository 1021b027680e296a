/** A server that answers as each test says, and remembers what it was asked. */
import { once } from "node:events";
import { type IncomingMessage, createServer } from "node:http";
import type { AddressInfo } from "node:net";

/** One request: its body, JSON unless it is a form. */
export interface Asked {
  readonly headers: IncomingMessage["headers"];
  readonly text: string;
  readonly json: { query?: string; variables: Record<string, unknown>; operationName: string; extensions?: object };
}

/** What to answer; null: break the connection. */
export type Reply = { status?: number; headers?: Record<string, string>; body: unknown } | null;

export interface Stub {
  readonly url: string;
  readonly asked: Asked[];
  close(): void;
}

/** Replies one after the other, the last one for ever; or as a function of what is asked. */
export async function stubOf(replies: Reply[] | ((asked: Asked) => Reply | Promise<Reply>)): Promise<Stub> {
  const asked: Asked[] = [];
  const server = createServer(async (request, response) => {
    const pieces: Buffer[] = [];
    for await (const piece of request) pieces.push(piece as Buffer);
    const text = Buffer.concat(pieces).toString();
    const isJson = request.headers["content-type"] === "application/json";
    const one = { headers: request.headers, text, json: isJson ? JSON.parse(text) : {} };
    asked.push(one);
    const reply = typeof replies === "function" ? await replies(one) : replies[Math.min(asked.length, replies.length) - 1];
    if (!reply) return void request.socket.destroy();
    const body = typeof reply.body === "string" ? reply.body : JSON.stringify(reply.body);
    response.writeHead(reply.status ?? 200, { "content-type": "application/graphql-response+json", ...reply.headers }).end(body);
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/graphql`,
    asked,
    close: () => (server.closeAllConnections(), server.close()),
  };
}

/** An answer with one error. */
export function refusal(code: string, about: { data?: unknown; status?: number; extensions?: object } = {}): Reply {
  const { data, status = 200, extensions } = about;
  return { status, body: { errors: [{ message: code, extensions: { code, ...extensions } }], ...(data === undefined ? {} : { data }) } };
}
