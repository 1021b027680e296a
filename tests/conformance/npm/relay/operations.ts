// What Relay's compiler reads: a connection by pages, an object by its global id, a change and news.
import { graphql } from 'relay-runtime';

export const card = graphql`
  fragment operations_card on Meme @refetchable(queryName: "operationsCardRefetchQuery") {
    name
    posterUrl
    creator { displayName }
  }
`;

export const page = graphql`
  fragment operations_memes on Query
  @argumentDefinitions(count: { type: "Int", defaultValue: 2 }, cursor: { type: "String" })
  @refetchable(queryName: "operationsMemesPageQuery") {
    memes(first: $count, after: $cursor) @connection(key: "operations_memes") {
      edges { node { id ...operations_card } }
    }
  }
`;

export const first = graphql`
  query operationsMemesQuery { ...operations_memes }
`;

export const anything = graphql`
  query operationsNodeQuery($id: ID!) {
    node(id: $id) { __typename id ... on Meme { name } }
  }
`;

export const rename = graphql`
  mutation operationsRenameMutation($name: String!) { setDisplayName(displayName: $name) { id displayName } }
`;

export const news = graphql`
  subscription operationsRoundSubscription { roundUpdated { id number state } }
`;

export const certain = graphql`
  query operationsCertainQuery @throwOnFieldError { tip { height } metrics { name } me { user { id } } }
`;
