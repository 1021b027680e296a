// A subgraph of another team: what people write about memes and rounds. It knows Satreel's objects by their keys.
//
//   node reviews.mjs
//
// prints {"url": …} and runs until its standard input ends.
import { createServer } from "node:http";
import { buildSubgraphSchema } from "@apollo/subgraph";
import { graphql, parse } from "graphql";

const typeDefs = parse(`
  extend schema @link(url: "https://specs.apollo.dev/federation/v2.9", import: ["@key", "@shareable"])

  type Query {
    "The newest reviews."
    reviews(first: Int = 20): ReviewConnection!
  }
  type ReviewConnection {
    nodes: [Review!]!
    pageInfo: PageInfo!
  }
  type PageInfo @shareable {
    hasNextPage: Boolean!
    hasPreviousPage: Boolean!
    startCursor: String
    endCursor: String
  }
  type Review @key(fields: "id") {
    id: ID!
    stars: Int!
    text: String!
    meme: Meme!
    author: User!
  }
  type Meme @key(fields: "id") {
    id: ID!
    reviews: [Review!]!
    stars: Float
  }
  type User @key(fields: "id") {
    id: ID!
    reviews: [Review!]!
  }
  type Mutation {
    review(memeId: ID!, authorId: ID!, stars: Int!, text: String!): Review!
  }
`);

const reviews = [];
const of = (key, id) => reviews.filter((review) => review[key].id === id);
const resolvers = {
  Query: {
    reviews: (_, { first }) => ({
      nodes: reviews.slice(-first).reverse(),
      pageInfo: { hasNextPage: reviews.length > first, hasPreviousPage: false },
    }),
  },
  Mutation: {
    review: (_, { memeId, authorId, stars, text }) => {
      const made = { id: String(reviews.length + 1), stars, text, meme: { id: memeId }, author: { id: authorId } };
      reviews.push(made);
      return made;
    },
  },
  Review: { __resolveReference: ({ id }) => reviews[Number(id) - 1] },
  Meme: {
    __resolveReference: ({ id }) => ({ id }),
    reviews: ({ id }) => of("meme", id),
    stars: ({ id }) => {
      const found = of("meme", id);
      return found.length ? found.reduce((sum, { stars }) => sum + stars, 0) / found.length : null;
    },
  },
  User: { __resolveReference: ({ id }) => ({ id }), reviews: ({ id }) => of("author", id) },
};

const schema = buildSubgraphSchema({ typeDefs, resolvers });
const server = createServer(async (request, response) => {
  let text = "";
  for await (const piece of request) text += piece;
  const { query: source, variables: variableValues } = JSON.parse(text);
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify(await graphql({ schema, source, variableValues })));
});
server.listen(0, "127.0.0.1", () => {
  console.log(JSON.stringify({ url: `http://127.0.0.1:${server.address().port}/graphql` }));
});
process.stdin.resume().on("end", () => process.exit(0));
