"""Bad changes that open a door."""

import json

from policies.testing import resource
from tests.policies.bad_changes.draft import Bad, Draft

ALLOW_ALL = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})
BLOCK, CLUSTER, DATABASE = "BucketPublicAccessBlock", "eks/cluster:Cluster", "rds/instance:Instance"
POD = "spec.template.spec"
CONTAINER = f"{POD}.containers.0"


def literal(draft: Draft, kind: str, name: str, path: str, change: dict[str, object]) -> None:
    """Change a policy document, which is JSON text."""
    document = json.loads(str(draft.one(kind, name).peek(path)))
    document["Statement"].append(change)
    draft.set(kind, name, path, json.dumps(document))


CHANGES = [
    Bad("public bucket", "turned one switch of the models' bucket off to share a file", "security.bucket-not-public",
        lambda d: d.set(BLOCK, "models", "blockPublicPolicy", False)),
    Bad("no block of public access", "forgot the block of the bucket of features", "security.bucket-not-public",
        lambda d: d.drop(BLOCK, "features")),
    Bad("public access list", "gave a bucket a canned list", "security.bucket-list-not-public",
        lambda d: d.set("s3/bucket:Bucket", "models", "acl", "public-read")),
    Bad("bucket without encryption", "dropped the encryption of the bucket of features", "security.bucket-encrypted",
        lambda d: d.drop("BucketServerSideEncryptionConfiguration", "features")),
    Bad("public cluster endpoint", "opened the Kubernetes API to work from home", "security.cluster-endpoint-private",
        lambda d: d.set(CLUSTER, "cluster", "vpcConfig.endpointPublicAccess", True)),
    Bad("cluster without audit log", "saved on logs of the control plane", "security.cluster-audited",
        lambda d: d.set(CLUSTER, "cluster", "enabledClusterLogTypes", ["api"])),
    Bad("cluster map of users", "went back to the config map of users", "security.cluster-access-by-entries",
        lambda d: d.set(CLUSTER, "cluster", "accessConfig.authenticationMode", "CONFIG_MAP")),
    Bad("public database", "made the database reachable for a notebook", "security.database-not-public",
        lambda d: d.set(DATABASE, "database", "publiclyAccessible", True)),
    Bad("database without TLS", "turned TLS off for an old client", "security.database-forces-tls",
        lambda d: d.set("rds/parameterGroup:ParameterGroup", "database", "parameters.0.value", "0")),
    Bad("database with AWS's key", "left the environment's key out", "security.encrypted-with-environment-key",
        lambda d: d.set(DATABASE, "database", "kmsKeyId", None)),
    Bad("log group with AWS's key", "left the key of a log group out", "security.encrypted-with-environment-key",
        lambda d: d.set("logGroup:LogGroup", "flow-logs", "kmsKeyId", None)),
    Bad("wide-open security group", "let the world reach the database", "security.group-not-wide-open",
        lambda d: d.set("SecurityGroupIngressRule", "endpoints-https", "cidrIpv4", "0.0.0.0/0")),
    Bad("open default group", "used the default security group", "security.default-group-closed",
        lambda d: d.set("DefaultSecurityGroup", "network-default", "ingress",
                        [{"protocol": "-1", "fromPort": 0, "toPort": 0, "self": True}])),
    Bad("key without rotation", "turned the rotation of a key off", "security.key-rotates",
        lambda d: d.set("kms/key:Key", "data", "enableKeyRotation", False)),
    Bad("key gone in a week", "shortened the wait before a key is deleted", "security.key-deletion-waits",
        lambda d: d.set("kms/key:Key", "audit", "deletionWindowInDays", 7)),
    Bad("key for everybody", "let every account use a key", "security.key-not-public",
        lambda d: literal(d, "kms/key:Key", "data", "policy",
                          {"Effect": "Allow", "Principal": "*", "Action": "kms:Decrypt", "Resource": "*"})),
    Bad("wildcard rights", "gave a role every right to see whether it helps", "security.no-wildcard-rights",
        lambda d: d.set("iam/rolePolicy:RolePolicy", "serving", "policy", ALLOW_ALL)),
    Bad("administrator", "attached the administrator's policy to the jobs' role", "security.no-administrator",
        lambda d: d.add(resource("aws:iam/rolePolicyAttachment:RolePolicyAttachment", "jobs-admin",
                                 role="acme-prod-jobs", policyArn="arn:aws:iam::aws:policy/AdministratorAccess"))),
    Bad("user with a key", "made an access key for a script", "security.no-long-lived-keys",
        lambda d: d.add(resource("aws:iam/accessKey:AccessKey", "script", user="script"))),
    Bad("mutable image tags", "let a tag of an image be pushed again", "security.image-tags-immutable",
        lambda d: d.set("ecr/repository:Repository", "serving", "imageTagMutability", "MUTABLE")),
    Bad("images not scanned", "turned the scan of images off", "security.images-scanned",
        lambda d: d.set("ecr/repository:Repository", "training", "imageScanningConfiguration.scanOnPush", False)),
    Bad("trail of one region", "recorded one region only", "governance.audit-trail-on",
        lambda d: d.set("cloudtrail/trail:Trail", "audit", "isMultiRegionTrail", False)),
    Bad("no flow log", "dropped the network's log", "security.network-logged",
        lambda d: d.drop("ec2/flowLog:FlowLog", "flow-logs")),
    Bad("metadata without session", "let pods read the machine's metadata", "security.instance-metadata-guarded",
        lambda d: d.set("launchTemplate:LaunchTemplate", "system", "metadataOptions.httpTokens", "optional")),
    Bad("plain disks", "left the encryption of disks out", "security.disks-encrypted",
        lambda d: d.set("launchTemplate:LaunchTemplate", "system", "blockDeviceMappings.1.ebs.encrypted", "false")),
    Bad("plain volumes", "made a class of volumes without encryption", "security.volumes-encrypted",
        lambda d: d.set("storage.k8s.io/v1:StorageClass", "gp3", "parameters.encrypted", "false")),
    Bad("namespace without network policy", "dropped the closed policy of a namespace",
        "security.namespace-default-deny", lambda d: d.drop("v1:NetworkPolicy", "serving")),
    Bad("network policy for all", "let everything into the namespace of serving", "security.network-policy-not-open",
        lambda d: d.set("v1:NetworkPolicy", "inference", "spec.ingress", [{}])),
    Bad("namespace without Pod Security", "took the label of Pod Security off", "security.namespace-confines",
        lambda d: d.set("core/v1:Namespace", "serving",
                        ("metadata", "labels", "pod-security.kubernetes.io/enforce"), "privileged")),
    Bad("privileged pod", "ran a container as privileged", "security.pods-confined",
        lambda d: d.set("apps/v1:Deployment", "registry", f"{CONTAINER}.securityContext.privileged", True)),
    Bad("host path", "mounted a folder of the machine", "security.pods-confined",
        lambda d: d.set("apps/v1:Deployment", "registry", f"{POD}.volumes.0",
                        {"name": "host", "hostPath": {"path": "/var/run"}})),
    Bad("writable image", "let a container write to its own image", "security.root-filesystem-read-only",
        lambda d: d.set("apps/v1:Deployment", "feature-store",
                        f"{CONTAINER}.securityContext.readOnlyRootFilesystem", False)),
    Bad("plain secret in the environment", "put a password into a variable", "security.no-plain-secret",
        lambda d: d.set("apps/v1:Deployment", "registry", f"{CONTAINER}.env.0",
                        {"name": "DATABASE_PASSWORD", "value": "hunter2-hunter2"})),
    Bad("service on every node", "showed the rollout controller on a port of each node", "security.service-internal",
        lambda d: d.set("core/v1:Service", "control", "spec.type", "NodePort")),
    Bad("gateway without TLS", "served predictions in plain text", "security.gateway-encrypted",
        lambda d: d.set("Gateway", "gateway-predictions", "spec.listeners.0.protocol", "HTTP")),
    Bad("gateway on the internet", "showed predictions to the internet", "security.gateway-as-settings-say",
        lambda d: d.set("EnvoyProxy", "envoyproxy-predictions",
                        ("spec", "provider", "kubernetes", "envoyService", "annotations",
                         "service.beta.kubernetes.io/aws-load-balancer-scheme"), "internet-facing")),
    Bad("administrator of the cluster", "bound an account to cluster-admin", "security.cluster-binding-narrow",
        lambda d: d.add(resource("kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBinding", "admin", {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": d.one("core/v1:Namespace", "serving").inputs["metadata"],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": "jobs", "namespace": "training"}],
        }))),
]  # fmt: skip
