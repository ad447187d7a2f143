"""The Kubernetes half of a rehearsal: a real API server without a cluster, and a stand-in for the official plugin.

`api_server` starts etcd and kube-apiserver on the loopback address and installs the custom resource definitions.
`python -m infra.rehearsal.kubernetes` is the stand-in for the `kubernetes` provider plugin: `provider` is its gRPC
surface, `objects` translates between inputs and objects, `client` talks to the API server, `naming` and `immutable`
are pure decisions, `validation` says what no schema catches, `pods` asks whether the pods that a workload will make
would be admitted, `namespaces` does what the missing controller manager would do, `charts` records Helm releases.

What it cannot show: nothing runs. There are no nodes and no controllers, so that no pod starts and no Deployment
becomes ready, and what a Helm chart would render is not looked at.
"""
