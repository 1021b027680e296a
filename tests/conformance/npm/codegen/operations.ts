// Operations as a front end writes them; their types come from the schema.
import { graphql, useFragment } from './generated/index.js';
import type { FragmentType } from './generated/index.js';

export const Card = graphql(`
  fragment Card on Meme { id name posterUrl quote { openListing { priceSats } } creator { displayName } }
`);

export const Memes = graphql(`
  query Memes($first: Int!, $after: String) {
    memes(first: $first, after: $after) { edges { cursor node { ...Card } } pageInfo { endCursor hasNextPage } }
  }
`);

export const Current = graphql(`
  query Current {
    currentRound { number state anchor { height hash } leaderboard(limit: 10) { standings { rank takingsSats meme { name } } } }
  }
`);

export const AnyNode = graphql(`
  query AnyNode($id: ID!) { node(id: $id) { __typename id ... on Meme { ...Card } ... on Listing { priceSats } } }
`);

export const Watch = graphql(`
  subscription Watch($meme: ID!, $budget: Sats!) { watch(memeId: $meme, budget: $budget) { viewingId stopReason } }
`);

export const Rename = graphql(`
  mutation Rename($name: String!) { setDisplayName(displayName: $name) { id displayName } }
`);

// Compiles only if scalars are numbers and texts, and null is where the schema says it.
export function priceOf(card: FragmentType<typeof Card>): number | null {
  const meme = useFragment(Card, card);
  const price: number | undefined = meme.quote?.openListing?.priceSats;
  return price ?? null;
}
