// The description, as it is served beside this page; nothing is loaded from elsewhere.
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#page",
  deepLinking: true,
  docExpansion: "list",
  filter: true,
  displayRequestDuration: true,
  validatorUrl: null,
});
