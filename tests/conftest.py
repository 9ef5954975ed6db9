"""What all tests share."""
import signal

# A shell's background job ignores Ctrl-C, and so would the commands that tests start and stop with it.
signal.signal(signal.SIGINT, signal.default_int_handler)
