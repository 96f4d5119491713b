"""What a deployment on AWS is brought up to date with: the live job, the hub's containers, files of replays.

It does not know the command line, and nothing of it runs on a stack of one machine.
"""
