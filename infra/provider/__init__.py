"""The `blueprint` resource provider, a Pulumi plugin: supervised processes, jobs, model releases and random tokens.

The engine starts `pulumi-resource-blueprint`, which runs `python -m infra.provider`. From the outside in: `plugin` is
the process, `servicer` what any provider of ours answers alike, `server` the gRPC surface of this one, `codec`
translates property values, `inputs` validates them, `resource` says what a resource is, and then one module a resource
(`process`, `job`, `model_release`, `random_token`). A process rests on `supervisor`, `rendering` (its files), `health`,
`ports`, and three scripts that run on their own: `supervisord`, which a full disk does not end, `launch`, which starts
a supervised command, and `marks`, which finds whatever a command left behind.

The plugin starts with every preview, so nothing is imported before it is needed, and never the Pulumi SDK itself.
"""
