"""Fine-tuning data: every fault of a training file with its line, then what the file holds and what training costs.

`check_files` of `penstock.outputs.finetune.check` is the way in; `limits` says what a model takes, `report` writes
what was found for people and programs. An output that made the files of rows gives an `Origin` (`origin`) of each:
then problems name the row beside the line, groups are held against each other, and verdicts of a moderation are told.
"""
