"""Features that other tools saved, read image by image: hloc, Patch-NetVLAD, SuperPoint, DELG, …"""
