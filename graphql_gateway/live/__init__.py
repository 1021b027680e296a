"""What changes: one watch stream per service and process, shared by all subscribers; and the viewing meter."""
