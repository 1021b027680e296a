// Composes subgraphs into a supergraph (Apollo's composition) and routes operations to them (Hive Gateway):
//
//   node router.mjs '[{"name": "satreel", "url": "http://127.0.0.1:8080/graphql"}, …]'
//
// It asks every subgraph for its schema, and prints one line of JSON: {url, schema, hints}, where schema is what
// clients see, or {errors} when the subgraphs do not fit together. It runs until its standard input ends.
import { createServer } from "node:http";
import { composeServices } from "@apollo/composition";
import { createGatewayRuntime } from "@graphql-hive/gateway-runtime";
import { parse, printSchema } from "graphql";

async function subgraph({ name, url }) {
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ query: "{ _service { sdl } }" }),
  });
  const { data, errors } = await response.json();
  if (errors) throw new Error(`${name}: ${JSON.stringify(errors)}`);
  return { name, url, typeDefs: parse(data._service.sdl) };
}

const { errors, supergraphSdl, schema, hints } = composeServices(
  await Promise.all(JSON.parse(process.argv[2]).map(subgraph)),
);
if (errors) {
  console.log(JSON.stringify({ errors: errors.map(({ message }) => message) }));
  process.exit(1);
}
const router = createGatewayRuntime({
  supergraph: supergraphSdl,
  logging: false,
  maskedErrors: false,
  // Subgraphs decide by themselves what a user may do: they get the user's token.
  propagateHeaders: {
    fromClientToSubgraphs: ({ request: { headers } }) => ({
      authorization: headers.get("authorization") ?? undefined,
      "x-forwarded-for": headers.get("x-forwarded-for"),
    }),
  },
});
const server = createServer((request, response) => {
  // Limits are per client: with TRUSTED_PROXIES=1 the gateway believes the last of these.
  const told = request.headers["x-forwarded-for"];
  request.headers["x-forwarded-for"] = [...(told ? [told] : []), request.socket.remoteAddress].join(", ");
  router(request, response);
});
server.listen(0, "127.0.0.1", () => {
  const seen = printSchema(schema.toAPISchema().toGraphQLJSSchema());
  const url = `http://127.0.0.1:${server.address().port}/graphql`;
  console.log(JSON.stringify({ url, schema: seen, hints: hints.map(({ message }) => message) }));
});
process.stdin.resume().on("end", () => process.exit(0));
