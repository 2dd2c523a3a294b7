"""The lesson: three experiments, their fits, figures and report.

experiments, fits   training and results; lines and logistic curves fitted to them
figures, figure_workers   the seven figures, and the processes that draw them meanwhile
report, report_sentences, report_questions, templates/   the page, its sentences made from the run, its questions
output_folder       the folder that everything goes to, whole or not at all
notebook_display    what the lesson's notebook shows
"""
