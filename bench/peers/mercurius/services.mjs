// The services of the mesh over grpc-js, each method a promise; by descriptors whose fields have camelCase names.
import { readFileSync } from "node:fs";
import grpc from "@grpc/grpc-js";
import { loadFileDescriptorSetFromBuffer } from "@grpc/proto-loader";

const TOKEN_CACHED_MS = 3000;

export function connect(descriptors, address) {
  const options = { longs: Number, enums: String, defaults: true, oneofs: true };
  const { satreel } = grpc.loadPackageDefinition(
    loadFileDescriptorSetFromBuffer(readFileSync(descriptors), options),
  );
  const client = (name) => {
    const Client = satreel[name].v1[`${name[0].toUpperCase()}${name.slice(1)}Service`];
    return new Client(address, grpc.credentials.createInsecure());
  };
  const clients = {};
  for (const name of ["identity", "content", "rounds", "ledger", "market"]) clients[name] = client(name);

  const metadata = (userToken) => {
    const found = new grpc.Metadata();
    found.set("x-satreel-service", "gateway");
    if (userToken) found.set("x-satreel-user-token", userToken);
    return found;
  };
  const call = (service, method, request, userToken) =>
    new Promise((resolve, reject) =>
      clients[service][method](request, metadata(userToken), (error, response) =>
        error ? reject(error) : resolve(response),
      ),
    );

  const viewers = new Map();
  // Who asks, as the gateway does it: a checked token is trusted for three seconds.
  const viewer = async (header) => {
    if (!header) return null;
    const known = viewers.get(header);
    if (known && known.until > Date.now()) return known;
    const accessToken = header.slice("Bearer ".length);
    const { user, userToken } = await call("identity", "authenticate", { accessToken });
    const found = { user, userToken, until: Date.now() + TOKEN_CACHED_MS };
    viewers.set(header, found);
    return found;
  };
  const watchRounds = () => clients.rounds.watchRounds({ cursor: "" }, metadata());
  return { call, viewer, watchRounds };
}
