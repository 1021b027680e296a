export { type Client, type ClientOptions, type RunOptions, createClient } from "./client.js";
export { type DataOf, type Document, type Kind, type VariablesOf, uuid7 } from "./document.js";
export { type ClientCode, type ErrorCode, type GraphQLErrorJson, SatreelError } from "./errors.js";
export type { KnownCode } from "./generated/codes.js";
export type { FollowOptions } from "./live.js";
export { type DateTime, type Sats, dateTime, sats, timeOf } from "./scalars.js";
export { type TokenStore, type Tokens, memoryTokens, storedTokens } from "./tokens.js";
export { type Brc100, type SigningProvider, type Wallet, brc100Wallet, okxWallet, unisatWallet } from "./wallets.js";
