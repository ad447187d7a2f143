"""The server's process: prints its port on the first line, serves until its input is closed.

Environment:
    MOTO_ACCOUNT_ID: the account it plays.
    MLOPS_REHEARSAL_CLUSTER: JSON with `endpoint` and `ca` of the API server that EKS clusters are said to have.
"""

import logging
import os
import sys
import threading

from infra.provider.plugin import wait_for_end_of_input


def main() -> None:
    """Serve on a free port of the loopback address."""
    from moto.server import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    from infra.rehearsal.aws.gaps.application import Application
    from infra.rehearsal.aws.gaps.mended import mend
    from infra.rehearsal.aws.gaps.services import Services, cluster_setting

    mend()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    account = os.environ.get("MOTO_ACCOUNT_ID", "123456789012")
    services = Services(account, cluster_setting(os.environ.get("MLOPS_REHEARSAL_CLUSTER", "")))
    application = Application(DomainDispatcherApplication(create_backend_app), services.supplied())
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=MotoRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    os.environ["MOTO_PORT"] = str(server.server_port)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    wait_for_end_of_input()
    os._exit(0)


if __name__ == "__main__":
    main()
