"""`python scripts/app.py images=<folder>`: search one's own images in a browser.

The index is brought up to date as by `ames search`; then the app is served until Ctrl-C.
"""

from contextlib import closing, suppress

from ames_lite.cli.schema.evaluation import App
from ames_lite.cli.searching import (
    check_bad_images,
    check_served,
    images_folder,
    open_folder,
    session_of,
)


def run(config: App) -> None:
    images_folder(config.images)
    check_served(config.port, "app", ["gradio"])
    from ames_lite.search.app import served
    from ames_lite.search.web import address_of, listen

    with listen(config.host, config.port) as port, closing(open_folder(config)) as folder:
        check_bad_images(config, folder.failed)
        assert folder.model is not None
        ranker, role, answers = folder.model
        session = session_of(folder)
        about = f"{len(session.names)} images · {config.backbone.name} · {ranker.scorer.name}"
        print(f"{ranker.scorer.name}: λ {ranker.lamb:g}, γ {ranker.temp:g} ({role})")
        if answers.said:
            print(answers.said)
        with served(session, about, config.top, config.host) as server:
            print(
                f"open {address_of(config.host, port)} in a browser; Ctrl-C ends the app",
                flush=True,
            )
            with suppress(KeyboardInterrupt):
                server.run(sockets=[port])
