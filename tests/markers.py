"""Which tests are no unit tests, or slow, where neither their folder nor their fixtures say so.

An entry is a module, or a test in one as ``module::test``. A test that is called `unit` and starts
something fails (`tests/conftest.py`), so what is missing here is noticed.
"""

CLOUD = {  # they start a LocalCloud in the test itself
    "local/test_database_url.py::test_a_cloud_runs_whatever_the_folder_for_temporary_files_is_called",
    "local/test_postgres.py",
    "local/test_process.py",
    "local/test_stream.py::test_a_server_that_is_closed_ends_its_streams_at_once",
    "test_benchmarks.py",
    "test_binder.py",
    "test_cli.py",
    "test_docs.py",
    "test_surroundings.py",
    "test_testing_plugin.py",
}
PROCESS = {  # they start threads, processes, or servers that are no LocalCloud
    "api/test_claims.py::test_a_name_is_never_given_twice_however_many_ask_at_once",
    "api/test_claims.py::test_two_processes_share_one_file",
    "api/test_claims.py::test_what_a_killed_process_has_begun_blocks_nobody",
    "api/test_credentials.py",
    "api/test_credentials_keyring.py",
    "api/test_deadline.py",
    "api/test_empty_answers.py",
    "api/test_environment.py",
    "api/test_errors.py::test_an_error_crosses_a_process_pool",
    "api/test_first_use.py",
    "api/test_network.py",
    "api/test_pages.py",
    "api/test_transport.py",
    "attest/test_verify.py",
    "deploy/test_deployment.py",
    "frames/test_accessor.py::test_importing_the_package_brings_neither_pandas_nor_an_accessor",
    "frames/test_fleet_frame.py::test_without_pyarrow_the_schema_holds_and_money_is_decimal",
    "frames/test_plots.py::test_matplotlib_is_loaded_when_a_picture_is_drawn_and_not_before",
    "live/test_observers.py",
    "live/test_rows.py::test_the_test_clock_wakes_a_loop_once_for_each_time_it_is_due",
    "live/test_store.py::test_eight_writers_and_readers_see_one_order",
    "live/test_streams.py",
    "local/test_usage.py",
    "local/test_wire.py",
    "test_compose_files.py::test_a_text_is_read_before_the_transaction_that_others_wait_for",
    "test_files.py::test_a_pipe_is_written_into",
    "test_import.py",
    "test_notebooks.py",
    "test_packaging.py",
    "test_report.py",
    "widgets/test_secret_box.py",
    "widgets/test_view.py",
}
SLOW = {  # more than 5 s
    "api/test_env_file.py::test_what_is_read_at_all_is_read_as_python_dotenv_reads_it",
    "api/test_errors.py::test_no_answer_makes_the_reading_fail",
    "frames/test_comparison.py::test_it_says_exactly_what_a_comparison_cell_by_cell_says",
    "frames/test_io.py::test_a_frame_comes_back_as_it_was",
    "live/test_stateful.py",
    "live/test_store.py::TestOracle::runTest",
    "live/test_store.py::test_any_interleaving_of_facts_ends_in_one_state",
    "local/test_durability.py",
    "local/test_housekeeping.py",
    "local/test_official_sdk.py",
    "local/test_openapi.py",
    "local/test_postgres.py",
    "test_benchmarks.py",
    "test_binder.py",
    "test_notebooks.py",
    "test_report.py",
    "test_soak.py",
    "test_soak_operations.py",
    "test_testing_plugin.py",
}
FIRST = {"live/test_stateful.py", "local/test_openapi.py", "test_binder.py"}  # a minute each
NO_UNIT = {place for place in CLOUD | PROCESS | SLOW if "::" not in place}
"""Modules that need not even be read where unit tests alone are asked for."""
