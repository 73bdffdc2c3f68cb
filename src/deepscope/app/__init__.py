"""The local page of `deepscope serve`: one person, one browser, one model, on the same machine.

`command` starts it; `web` answers requests; `access` decides which of them; `worker` computes in one thread; `studio`
holds models and images, and calls the public workflows; `page` writes the document. Modules that need the extra `app`
import it inside their functions, because the command line imports every module of this package.
"""
