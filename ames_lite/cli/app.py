"""`python scripts/app.py images=<folder>`: search one's own images in a browser.

The index is brought up to date as by `ames search`; then the app is served until Ctrl-C.
"""

from contextlib import suppress
from importlib.util import find_spec

from ames_lite.cli.schema.evaluation import App
from ames_lite.cli.searching import check_bad_images, images_folder, open_folder
from ames_lite.errors import check_config
from ames_lite.search.session import Session


def run(config: App) -> None:
    images_folder(config.images)
    what, expected = "the app needs gradio, which is not installed", "the extra ames_lite[app]"
    check_config(find_spec("gradio"), what, expected, remedy="pip install 'ames_lite[app]'")
    check_config(0 <= config.port < 1 << 16, f"port={config.port}", "a port, 0 to 65535")
    from ames_lite.search.app import listen, served

    with listen(config.host, config.port) as port:
        folder = open_folder(config)
        check_bad_images(config, folder.failed)
        assert folder.model is not None
        ranker, role, answers = folder.model
        session = Session(folder.images, folder.index, folder.backbone, ranker, answers.absent)
        about = f"{len(session.names)} images · {config.backbone.name} · {ranker.scorer.name}"
        print(f"{ranker.scorer.name}: λ {ranker.lamb:g}, γ {ranker.temp:g} ({role})")
        if answers.said:
            print(answers.said)
        host = "127.0.0.1" if config.host == "0.0.0.0" else config.host
        address = f"http://{host}:{port.getsockname()[1]}"
        with served(session, about, config.top, config.host) as server:
            print(f"open {address} in a browser; Ctrl-C ends the app", flush=True)
            with suppress(KeyboardInterrupt):
                server.run(sockets=[port])
