/** Somebody's wallet, as far as a log-in needs it. Any that signs texts fits: write these two functions. */
export interface Wallet {
  /** The address to log in with; of a BRC-100 wallet its identity key, hex. */
  address(): Promise<string>;
  /** Over the text's UTF-8, base64: Bitcoin Signed Message, BIP-322 simple, or BRC-100 `createSignature`. */
  sign(message: string): Promise<string>;
}

/** What is used of a BRC-100 wallet: `window.CWI`, or `WalletClient` and `ProtoWallet` of `@bsv/sdk`. */
export interface Brc100 {
  getPublicKey(wanted: { identityKey: true }): Promise<{ publicKey: string }>;
  createSignature(wanted: {
    data: number[];
    protocolID: [2, string];
    keyID: string;
    counterparty: "anyone";
  }): Promise<{ signature: number[] }>;
}

/** A BRC-100 wallet. */
export function brc100Wallet(provider: Brc100 = injected("CWI")): Wallet {
  return {
    address: async () => (await provider.getPublicKey({ identityKey: true })).publicKey,
    sign: async (message) => {
      const { signature } = await provider.createSignature({
        data: Array.from(new TextEncoder().encode(message)),
        protocolID: [2, "satreel wallet proof"],
        keyID: "1",
        counterparty: "anyone",
      });
      return btoa(String.fromCharCode(...signature));
    },
  };
}

/** What is used of `window.unisat` and `window.okxwallet.bitcoin`. */
export interface SigningProvider {
  requestAccounts(): Promise<string[]>;
  signMessage(message: string, type: "ecdsa" | "bip322-simple"): Promise<string>;
}

/** UniSat. */
export function unisatWallet(provider: SigningProvider = injected("unisat")): Wallet {
  return signingWallet(provider);
}

/** OKX Wallet. */
export function okxWallet(provider: SigningProvider = injected<{ bitcoin: SigningProvider }>("okxwallet").bitcoin): Wallet {
  return signingWallet(provider);
}

/** BIP-322 for what begins with a segwit prefix, Bitcoin Signed Message for all others. */
function signingWallet(provider: SigningProvider): Wallet {
  const address = async (): Promise<string> => {
    const [first] = await provider.requestAccounts();
    if (!first) throw new Error("The wallet shares no account.");
    return first;
  };
  return {
    address,
    sign: async (message) => provider.signMessage(message, /^(bc|tb|bcrt)1/i.test(await address()) ? "bip322-simple" : "ecdsa"),
  };
}

function injected<T>(name: string): T {
  const found = (globalThis as Record<string, unknown>)[name];
  if (!found) throw new Error(`This browser has no window.${name}: is the wallet installed?`);
  return found as T;
}
