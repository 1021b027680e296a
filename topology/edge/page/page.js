// An operation that may be asked without a token is not locked before there is one.
const ASKED_BY_ANYBODY = {
  statePlugins: {
    auth: {
      wrapSelectors: {
        isAuthorized: (found) => (state, ways) => found(ways && ways.filter((way) => way.size > 0)),
      },
    },
  },
};

// The description, as it is served beside this page; nothing is loaded from elsewhere.
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#page",
  deepLinking: true,
  docExpansion: "list",
  filter: true,
  displayRequestDuration: true,
  validatorUrl: null,
  plugins: [ASKED_BY_ANYBODY],
});
