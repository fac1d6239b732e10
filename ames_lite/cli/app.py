"""`python scripts/app.py images=<folder>`: search one's own images in a browser. The index is
brought up to date as by `ames search`; then the app is served until Ctrl-C.
"""

from contextlib import closing, suppress

from ames_lite.cli import searching
from ames_lite.cli.schema.evaluation import App


def run(config: App) -> None:
    searching.images_folder(config.images)
    searching.check_served(config.port, "app", ["gradio"])
    from ames_lite.search.app import served
    from ames_lite.search.web import address_of, listen

    with listen(config.host, config.port) as port, closing(searching.open_folder(config)) as folder:
        searching.check_bad_images(config, folder.failed)
        assert folder.model is not None
        session, scorer = searching.session_of(folder), folder.model.ranker.scorer
        about = f"{len(session.names)} images · {config.backbone.name} · {scorer.name}"
        print("\n".join(filter(None, [str(folder.model), folder.model.answers.said])))
        with served(session, about, config.top, config.host) as server:
            where = address_of(config.host, port)
            print(f"open {where} in a browser; Ctrl-C ends the app", flush=True)
            with suppress(KeyboardInterrupt):
                server.run(sockets=[port])
