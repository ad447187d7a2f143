// Where `infra/engine/crds.py` takes custom resource definitions from. Nothing is built from it, so it names only
// the modules themselves, not what they need.
module mlops-blueprint/tools/crds

go 1.26.0

require (
	github.com/aws/karpenter-provider-aws v1.15.1
	github.com/envoyproxy/gateway v1.7.0
	github.com/external-secrets/external-secrets v1.3.2
	github.com/prometheus-operator/prometheus-operator v0.85.0
	github.com/ray-project/kuberay/ray-operator v1.6.2
	sigs.k8s.io/gateway-api v1.4.1
)
