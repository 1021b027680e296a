/** The gateway with real identity before fakes, which Python's tests start, and a line to it that can be cut. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { type Socket, connect, createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { type Client, type ClientOptions, type Wallet, createClient, unisatWallet } from "@satreel/client";
import WebSocket from "ws";

const stage = process.env["SATREEL_STAGE"];

/** Has the stage do something. */
export async function act<T = unknown>(name: string, given: object = {}): Promise<T> {
  assert.ok(stage, "SATREEL_STAGE is the address of tests/client/stage.py");
  const response = await fetch(`${stage}/${name}`, { method: "POST", body: JSON.stringify(given) });
  assert.equal(response.status, 200, await response.clone().text());
  return (await response.json()) as T;
}

/** Where the gateway is. */
export const about = await act<{ url: string; meme: string }>("about");

const clients = new Set<Client>();

/** A client that is closed with `closeAll`. */
export function clientOf(options: Partial<ClientOptions> = {}): Client {
  const client = createClient({ url: about.url, webSocketImpl: WebSocket, ...options });
  clients.add(client);
  return client;
}

/** A WebSocket class, and what its sockets are told. */
export function overheard() {
  const told: string[] = [];
  class Overheard extends WebSocket {
    constructor(url: string, protocol: string) {
      super(url, protocol);
      this.on("message", (message) => told.push(String(message)));
    }
  }
  return { told, webSocketImpl: Overheard };
}

/** For `afterEach`. */
export async function closeAll(): Promise<void> {
  await Promise.all([...clients].map((client) => client.close()));
  clients.clear();
}

/** What UniSat puts into pages, signing with a key that the stage holds. */
export async function unisat(kind: "P2PKH" | "P2SH" | "P2WPKH" | "P2TR"): Promise<Wallet> {
  const { address } = await act<{ address: string }>("wallet", { kind });
  return unisatWallet({
    requestAccounts: async () => [address],
    signMessage: async (message, type) => (await act<{ signature: string }>("sign", { address, message, type })).signature,
  });
}

/** A TCP line to the gateway. */
export interface Line {
  readonly url: string;
  /** Breaks all connections without a word. */
  cut(): void;
  /** How many connections there have been. */
  readonly opened: number;
  close(): void;
}

export async function lineTo(url: string): Promise<Line> {
  const target = new URL(url);
  const open = new Set<Socket>();
  let opened = 0;
  const server = createServer((near) => {
    const far = connect(Number(target.port), target.hostname);
    opened += 1;
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      open.add(one);
      one.on("error", () => other.destroy()).on("close", () => (open.delete(one), other.destroy()));
      one.pipe(other);
    }
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  const cut = () => open.forEach((socket) => socket.resetAndDestroy());
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}${target.pathname}`,
    cut,
    get opened() {
      return opened;
    },
    close: () => (cut(), server.close()),
  };
}
