"""The face for asyncio: the same words as the one for threads, on the same engine.

A rim: what is asked for goes to the engine as an event, and what comes of it rings a bell in the caller's event loop.
No rule is kept here that is not kept there, and no thread is parked for who waits.
"""
