"""The lesson: its experiments, their fits, figures and report.

experiments, fits   the experiments of one run each: training and results; lines and logistic curves fitted to them
many_runs, many_runs_sentences   label noise and capacity, experiments of many short runs, and what is said of them
figures, figure_workers   the figures of curves, and the processes that draw them meanwhile
pictures            weights, confusions and surest mistakes of a network, a digit of one's own
learning_rate, words   a learning rate that works on other data; numbers and classes as texts
report, report_sentences, report_questions   the page, its sentences made from the run, its questions
report_predictions  fields and empty axes in the page, in which predictions are made
page_template, templates/   the templates of both pages, styles and script
predictions, sketch_axes   what can be predicted, and its points; the axes that curves are drawn in
exported_predictions, class_view   files of predictions, and the page of a class
inline_figures      figures as parts of a page that follow its colours
output_folder       the folder that everything goes to, whole or not at all
notebook_display, notebook_predictions   what the lesson's notebook shows, and what it asks for
"""
