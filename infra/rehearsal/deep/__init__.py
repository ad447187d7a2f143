"""The deep half of a rehearsal: real controllers act on what the API server holds; a RayService goes through its life.

Real are kube-controller-manager, kube-scheduler and KubeRay's operator, each with its own credentials and rights.
Played are kubelets (kwok), the makers of nodes (`nodes`), Ray's dashboard (`dashboard`), and the statuses of gateways
and secrets that the operator or a pod waits for (`statuses`, `played`). `readings` says what is seen, `life` what has
to be.
"""
